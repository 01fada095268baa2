"""One identity's folder: keys, journal, policy, datasets."""
