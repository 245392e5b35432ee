"""The command `imgprep`: pipelines, parameters, inventory."""
