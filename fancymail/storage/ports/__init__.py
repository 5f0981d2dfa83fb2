"""What core may ask of storage: protocols and plain values. Engines live beside this package, core sees only this."""
