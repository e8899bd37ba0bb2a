"""What tells whether two runs train on the same examples."""

import concurrent.futures

from cnnvision.data import order
from cnnvision.types import Source


def fingerprint_of(source: Source, name: str) -> str:
    """A digest of the ids and classes of a source, and of labels, boxes and maps where they are at hand.

    Of maps count the bytes of their files, ahead of any decoding, and what their values mean (the table of classes, be it
    declared or inferred): sizes would miss a mask that was drawn again in a format without compression, and times differ
    from copy to copy. It costs one read of each map whenever a run is begun or gone on with, in threads. The pixels of
    images do not count: there are many more bytes of them.

    The ids of a TFDS set are mere numbers, and its records are not at hand, so that its name counts instead; the folder of
    other kinds may move.

    Args:
        source: what is trained on.
        name: the string that opened it.

    Raises:
        RecordError: a map can no longer be read.
    """
    parts = [*source.classes, "", *source.semantic_classes, ""]
    if not getattr(source, "annotations_at_hand", False):
        return order.fingerprint([name, *parts, *source.ids])
    for index, id in enumerate(source.ids):
        example = source.read(index, image=False)
        boxes = None if example.objects is None else (example.objects.labels.tolist(), example.objects.boxes.tolist())
        parts += [id, str((example.label, boxes))]
        if example.objects is not None and example.objects.crowd.any():  # added where there is something to add, as below
            parts.append(str(example.objects.crowd.tolist()))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        digests = list(pool.map(source.map_digest, range(len(source))))
    # Without maps nothing is added, so that runs on such data, begun before maps counted, go on.
    return order.fingerprint([*parts, source.meaning, *digests] if any(digests) else parts)
