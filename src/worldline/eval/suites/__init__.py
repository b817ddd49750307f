"""The suites of `worldline eval`: each a file with one function, (world, episodes, plan) -> `Suite`, whose figures carry their floors.

    video         how good the pictures are, 1 to 64 frames ahead
    honesty       whether the figures mean what they say: actions heeded, batches, seeds, drift, steps, spread
    physics       ground truth in the latents, objects behind occluders, balls after PhyWorld
    in_context    whether a longer prompt helps where friction, mass or viscosity differ
    control       whether planning in the world reaches goals in the real simulator

May import: the rest of eval. Refuses to know: the command line.
"""
