"""Curation: one encoded video in, its clips out, each with scores, a verdict and a fingerprint; and what to do with many of them.

    config        every threshold, in one place
    shots         where one shot ends and the next begins
    glances       every frame at the size of a thumbnail
    scores        what a clip looks like: black, frozen, blurred, text, bars, flicker, motion
    fingerprint   what a clip is recognised by
    passage       the single pass over a file that does all of the above, and encodes what is kept
    duplicates    which of many clips show the same thing
    captions      words for clips that came without, from a vision endpoint

May import: interfaces, data, and av, cv2, faiss, numpy, scenedetect. Refuses to know: where items come from, in which process it runs,
how data sets are laid out. Its files are imported one by one, because the sandbox needs the pass without the rest.
"""
