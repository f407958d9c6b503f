"""The networks, and the coordinates they predict."""
