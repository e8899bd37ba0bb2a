"use strict";
// The page works without this file but for sorting, the theme and the images.
const root = document.documentElement;
const faults = [];
addEventListener("error", (event) => {
  faults.push(event.message);
  root.dataset.faults = faults.join("; ");
});

document.getElementById("theme").addEventListener("change", (event) => {
  root.style.colorScheme = event.target.value;
});

// Tables: a click on a column's name sorts by it.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  const number = cell.querySelector("data")?.value ?? cell.textContent.trim();
  return number !== "" && Number.isFinite(Number(number)) ? Number(number) : number;
};
const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.classList.contains("plain")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => compare(valueOf(a, column), valueOf(b, column)));
      table.tBodies[0].append(...(down ? rows.reverse() : rows));
    });
  });
}

// Images: one JPEG each, over which the truth and the answers are drawn.
const SVG = "http://www.w3.org/2000/svg";
const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
};
const shape = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const GOOD = ["true", "right", "found"];

function objectOf(data, image, row, index, mask) {
  const [x1, y1, x2, y2, label, score, kind] = row;
  const group = shape("g", { class: GOOD.includes(kind) ? "object" : "object off" });
  const colour = data.classes.length > 1 ? data.classes[label].colour : data.palette[index % data.palette.length];
  group.style.setProperty("--ink", colour || "#fff");
  if (score !== null) group.dataset.score = score;
  group.dataset.kind = kind;
  if (mask) group.append(shape("path", { d: mask }));
  group.append(shape("rect", { x: x1, y: y1, width: Math.max(0, x2 - x1), height: Math.max(0, y2 - y1) }));
  const size = Math.max(image.width, image.height) / 17;
  const text = shape("text", { x: Math.max(0, x1), y: Math.max(size, y1 - size / 4), "font-size": size });
  text.textContent = data.classes[label].name + (score === null ? "" : ` ${score.toFixed(2)}`);
  group.append(text);
  group.append(Object.assign(shape("title", {}), { textContent: `${text.textContent}: ${kind}` }));
  return group;
}

function tile(data, image, answer, name, place) {
  const box = shape("svg", { viewBox: `0 0 ${image.width} ${image.height}`, role: "img", "aria-label": `${name}: ${image.id}` });
  const whole = { width: image.width, height: image.height, preserveAspectRatio: "none" };
  box.append(shape("image", { href: `data:image/jpeg;base64,${image.jpeg}`, ...whole }));
  if (answer.map) box.append(shape("image", { class: "map", href: `data:image/png;base64,${answer.map}`, ...whole }));
  const objects = (answer.boxes ?? []).map((row, index) => objectOf(data, image, row, index, answer.masks?.[index]));
  box.append(...objects.reverse());
  const words = element("span", { textContent: answer.text ?? "" });
  if (answer.right !== undefined && answer.right !== null) {
    words.className = answer.right ? "right" : "wrong";
    words.textContent = `${answer.right ? "✓" : "✗"} ${words.textContent}`;
  }
  const figure = element("figure", { className: "tile" }, box);
  figure.append(element("figcaption", {}, element("b", { textContent: name }), " ", words));
  figure.dataset.place = place;
  return Object.assign(figure, { answer, words });
}

function articleOf(data, image) {
  const names = data.variants.map((variant) => variant.name);
  const wrong = image.wrong.map((value, i) => `${names.length > 1 ? `${names[i]} ` : ""}${value === null ? "–" : value.toFixed(2)}`);
  const head = element("header", {}, element("h3", { textContent: image.id }));
  head.append(element("span", { textContent: `${image.why}; how wrong: ${wrong.join(", ")}` }));
  const tiles = element("div", { className: "tiles" }, tile(data, image, image.truth, "truth", -1));
  tiles.append(...names.map((name, place) => tile(data, image, image.answers[place], name, place)));
  return element("article", {}, head, tiles);
}

function show(data, articles) {
  const least = document.getElementById("score").dataset.set ? Number(document.getElementById("score").value) : null;
  document.getElementById("least").textContent = (least ?? data.variants[0].threshold).toFixed(2);
  if (least === null && data.variants.length > 1) document.getElementById("least").textContent = "where each has its best F1";
  const boxes = document.getElementById("boxes").checked;
  const masks = document.getElementById("masks").checked;
  const hidden = [...document.querySelectorAll("#variants input")].filter((input) => !input.checked).map((input) => input.value);
  for (const figure of articles.flatMap((article) => [...article.querySelectorAll(".tile")])) {
    figure.hidden = hidden.includes(figure.dataset.place);
    const threshold = least ?? data.variants[figure.dataset.place]?.threshold ?? 0;
    const kinds = {};
    for (const group of figure.querySelectorAll(".object")) {
      const kept = group.dataset.score === undefined || Number(group.dataset.score) >= threshold;
      group.style.display = kept ? "" : "none";
      if (kept) kinds[group.dataset.kind] = (kinds[group.dataset.kind] ?? 0) + 1;
      for (const part of group.querySelectorAll("rect, text")) part.style.display = boxes ? "" : "none";
      for (const part of group.querySelectorAll("path")) part.style.display = masks ? "" : "none";
    }
    for (const map of figure.querySelectorAll(".map")) map.style.display = masks ? "" : "none";
    if (figure.answer.objects !== undefined) {
      const missed = figure.answer.objects - (kinds.right ?? 0);
      const counted = Object.entries({ ...kinds, missed }).filter(([, count]) => count > 0);
      figure.words.textContent = counted.map(([kind, count]) => `${count} ${kind}`).join(", ") || "nothing, as it should be";
    }
  }
}

function gallery(data) {
  const place = document.getElementById("gallery");
  const images = data.images.map((image, index) => {
    const known = image.wrong.filter((value) => value !== null);
    const mean = known.length ? known.reduce((a, b) => a + b, 0) / known.length : -1;
    return { image, index, mean, differ: known.length ? Math.max(...known) - Math.min(...known) : -1, article: articleOf(data, image) };
  });
  const several = data.variants.length > 1;
  const orders = { "most wrong": (each) => -each.mean };
  if (several) orders["most disagreed on"] = (each) => -each.differ;
  if (several) data.variants.forEach((variant, i) => (orders[`most wrong: ${variant.name}`] = (each) => -(each.image.wrong[i] ?? -1)));
  orders["least wrong"] = (each) => each.mean;
  const order = document.getElementById("order");
  order.append(...Object.keys(orders).map((name) => new Option(name)));
  const arrange = () => {
    const by = orders[order.value];
    place.append(...[...images].sort((a, b) => by(a) - by(b) || a.index - b.index).map((each) => each.article));
  };
  order.addEventListener("change", arrange);
  arrange();

  const shown = document.getElementById("variants");
  shown.hidden = !several;
  [["truth", -1], ...data.variants.map((variant, i) => [variant.name, i])].forEach(([name, value]) => {
    shown.append(element("label", {}, element("input", { type: "checkbox", checked: true, value }), ` ${name}`));
  });
  const has = (selector) => place.querySelector(selector) !== null;
  for (const id of ["scores", "own"]) document.getElementById(id).hidden = !has("[data-score]");
  document.getElementById("with-boxes").hidden = !has(".object");
  document.getElementById("with-masks").hidden = !has(".object path, .map");
  const score = document.getElementById("score");
  score.value = data.variants[0].threshold;
  score.addEventListener("input", () => (score.dataset.set = "yes"));
  document.getElementById("own").addEventListener("click", () => {
    delete score.dataset.set;
    refresh();
  });
  const names = data.classes.map(({ name, colour }) => {
    const square = element("span", { className: "square" });
    square.style.background = colour || "none";
    return element("li", {}, square, name);
  });
  document.getElementById("class-names").append(...(data.classes.length <= 40 && has(".object, .map") ? names : []));
  const refresh = () => show(data, images.map((each) => each.article));
  document.getElementById("tools").addEventListener("input", refresh);
  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  refresh();
}

const data = document.getElementById("data");
if (data) gallery(JSON.parse(data.textContent));
root.dataset.sideways = root.scrollWidth > root.clientWidth ? "yes" : "no";
root.dataset.ready = document.querySelectorAll("#gallery article").length;
