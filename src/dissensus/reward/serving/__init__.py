"""Trained models: prediction, calibration, model card, Hub."""
