//! Who may ask what when: sequence, glare, races; routes; what is refused; bodies of several parts.
