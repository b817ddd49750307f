"""worldline: show it a video, get a world you can step, edit, differentiate and plan in."""
