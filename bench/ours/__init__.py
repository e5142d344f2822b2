"""Small services on the chassis, with all its guarantees."""
