"""The classes of COCO (Lin et al. 2014, "Microsoft COCO: common objects in context"): 80 names, whose ids reach to 90."""

UNUSED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
"""Ids of classes that were never annotated."""

_NAMES = """
    person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
    parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag,
    tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard,
    tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
    hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, mouse, remote,
    keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, teddy bear,
    hair drier, toothbrush
"""

COCO_IDS = dict(
    zip(
        (name.strip() for name in _NAMES.split(",")),
        (number for number in range(1, 91) if number not in UNUSED),
        strict=True,
    )
)
"""Name of a class -> its id, in the order of the ids."""
