"""The limits: what broker and database do when nothing but the driver stands before them."""
