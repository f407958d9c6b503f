"""The Hugging Face Hub and other HTTP servers: addresses, checked downloads that resume, uploads, tokens."""
