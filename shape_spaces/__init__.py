"""Named shape spaces, and the code that draws from them."""
