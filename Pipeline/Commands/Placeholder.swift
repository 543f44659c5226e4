// Filled by the module's first part.
