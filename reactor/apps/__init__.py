"""Programs to serve and to read: what can be said in the words of `Protocol`."""
