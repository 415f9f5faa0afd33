"""The paper's experiment on any dataset: how well each strategy does with how many annotated patients."""
