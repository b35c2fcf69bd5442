"""Values and documents about registries and the images in them."""
