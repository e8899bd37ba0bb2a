"""From files to batches: sources, decoding, checks, augmentation and batching."""
