"""Makes the proposals of a data set ahead of training, and says how many objects they find.

    python -m experiments.proposals --config=configs/fast_rcnn_shapes.py [--split=NAME] [--config.KEY=VALUE ...]

Which proposals: `config.model.proposals` of a network that takes them from elsewhere. They are kept by the images' content,
so that training, evaluation and prediction find them again; a killed command goes on where it was. The table has a line
for the first 10, 100, 1,000 and 2,000 of each image: average recall (IoU .50 … .95), the same for small, medium and large
objects, and recall at IoU .50 and .75.
"""

import time

from .command_line import Parser, main
from .reports.tables import markdown


def run(config, split: str = "", say=print) -> dict[int, dict[str, float]]:
    """Makes, keeps and measures; returns what `proposal_recall` returns.

    Args:
        config: a ConfigDict.
        split: of `config.data.source`; "" for the one that is evaluated on.

    Raises:
        ConfigError: the config's network makes its own proposals, or none.
    """
    from cnnvision.data.sources import open_source
    from cnnvision.data.wrappers.proposals import prepare, with_proposals
    from cnnvision.errors import ConfigError, DataError
    from cnnvision.evaluation.recall import proposal_recall
    from cnnvision.models import make_task
    from cnnvision.runs.join import data_info, loading

    source = open_source(config.data.source, split or config.data.eval_split)
    spec = make_task(config, data_info(source)).inputs.proposals
    if spec is None:
        raise ConfigError(f"config.model.name: {config.model.name} takes no proposals that are made ahead of it")
    proposing, began = with_proposals(source, spec), time.monotonic()
    prepare(proposing, range(len(source)), loading(config).threads, say)
    seconds = time.monotonic() - began
    images = []
    for index in range(len(source)):
        try:
            example = proposing.read(index)
        except (DataError, OSError) as error:
            say(f"left out: {error}")
            continue
        if example.objects is not None:
            images.append((example.objects, example.proposals))
    if not images:
        raise DataError(f"{source.name} {source.split}: has no boxes that could be found")
    number = sum(len(boxes) for _, boxes in images) / len(images)
    say(f"{source.name} {source.split}: {number:.0f} boxes an image, {seconds / len(source):.3f} s an image just now")
    return proposal_recall(images, source.area_ranges)


def command(arguments: list[str] | None = None) -> int:
    """Parses, runs, prints."""
    parser = Parser("proposals", __doc__)
    parser.add_argument("--config", required=True, metavar="FILE[:VARIANT]", help="of a network that takes proposals")
    parser.add_argument("--split", default="", metavar="NAME", help="by default the one that is evaluated on")
    flags, overrides = parser.parse(arguments)
    from cnnvision.runs.configuration import load_config

    table = run(load_config(flags.config, overrides), flags.split)
    rows = [[count, *row.values()] for count, row in table.items()]
    print(markdown(["first", *next(iter(table.values()))], rows))
    return 0


if __name__ == "__main__":
    main(command)
