"""The robot that paints your room: libmypaint's brushes on a wall with a skirting board, a floor and a rug.

May import: interfaces, numpy, ctypes, cv2 on demand. Refuses to know: clips, files other than the brushes', and how a brush lays paint.
"""
