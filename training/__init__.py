"""Training of the pose model: clips of scans, what is learnt from them, and the loop's parts."""
