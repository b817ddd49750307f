"""Real environments: third-party simulators as gymnasium environments and as sources of clips.

One package per simulator, each behind an optional extra that its error message names; nothing is imported before it is used.
Environments speak gymnasium (uint8 HWC pictures, environment units), clips speak `interfaces.Clip`.

May import: interfaces, gymnasium, numpy, torch and the simulators. Refuses to know: models, training, planners, files.
"""
