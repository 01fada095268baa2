"""The data process: TLS links, frames, shares."""
