"""Where files lie: at addresses, and in the cache folder of this machine."""
