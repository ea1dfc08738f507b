"""What queries and training segments are distorted with: noise and rooms."""
