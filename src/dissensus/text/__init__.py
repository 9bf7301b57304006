"""Text in: pretrained models found and loaded, and a frozen encoder."""
