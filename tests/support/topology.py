"""Who publishes and subscribes among the samples."""

from services.chassis.topology import Subscription
from tests.support.sample import ThingHappened

PUBLISHERS = ("alpha",)
SUBSCRIPTION = Subscription("beta", "count", ThingHappened)
SUBSCRIPTIONS = [SUBSCRIPTION]
QUEUE = SUBSCRIPTION.queue
LATER = Subscription("gamma", "note", ThingHappened)
"""Of a service that alpha and beta were deployed without."""
