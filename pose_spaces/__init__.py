"""Named pose spaces, and the code that draws from them."""
