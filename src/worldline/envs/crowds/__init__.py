"""People on foot, seen from above: jupedsim's pedestrians in a corridor and at a door, one of whom can be steered.

May import: interfaces, numpy, and jupedsim, shapely and cv2 on demand. Refuses to know: clips, files, and how people walk.
"""
