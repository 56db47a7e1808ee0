"""Human and machine output; `learning` and `round` return values, only this package renders them."""
