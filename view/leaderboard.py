"""The published leaderboard of TUS-REC2025: 64 hidden test scans of about 1,400 frames.

Source: the challenge's results page and its report. Errors are in mm, seconds are per scan.
"""

COLUMNS = ("name", "final", "GPE", "GLE", "LPE", "LLE", "seconds")
TITLE = "TUS-REC2025 leaderboard: other data (64 hidden test scans)"
ROWS = (
    ("ImFusion (DualTrack)", 0.622, 9.249, 6.986, 0.153, 0.120, 26.7),
    ("MUSIC Lab", 0.620, 9.851, 8.116, 0.138, 0.116, 107.5),
    ("COCHE", 0.503, 13.892, 10.705, 0.172, 0.143, 43.1),
    ("AGH-MedApp", 0.383, 18.605, 15.955, 0.179, 0.153, 40.4),
    ("AMI-Lab", 0.301, 21.800, 19.645, 0.177, 0.157, 10.4),
    ("Baseline", 0.163, 26.110, 23.681, 0.214, 0.181, 19.8),
)
