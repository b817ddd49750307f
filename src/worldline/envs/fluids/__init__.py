"""Liquids, smoke and ink: third-party solvers of continua, watched from the side.

May import: interfaces, numpy, and taichi, phiflow and cv2 on demand. Refuses to know: clips, files, and how any of it is solved.
"""
