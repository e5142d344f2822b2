"""Activities owns service hours.

Publishes: hours.recorded, hours.effective, hours.reversed.
Subscribes to: order.completed (record), order.closed (take effect).
"""
