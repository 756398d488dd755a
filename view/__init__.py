"""What people look at: the report, volumes, and files for 3D Slicer and PLUS."""
