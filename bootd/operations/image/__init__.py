"""An image before it is a deployment: accepted, fetched, looked into, or known as unfit."""
