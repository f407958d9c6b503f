"""Fine-tuning, cross-validation, the experiment of the paper, and prediction."""
