"""The manager: registers, authenticates, selects, issues tickets and manifests."""
