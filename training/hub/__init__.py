"""Networks on the Hugging Face Hub: model card, push and fetch."""
