"""Why a test may be skipped."""

NOT_HERE = "not on this machine"
"""How the reason begins where nothing can be installed to mend it: data beside the repository,
hardware, or what the operating system offers. In CI (`SEGMENTER_CI` is set) any other skip fails:
a library or a browser that is missing there would hide a whole feature."""
