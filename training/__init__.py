"""From renderings and scans to landmarks: networks, streaming, training, scans, evaluation and prediction."""
