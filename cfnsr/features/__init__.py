"""Features that are extracted once and cached: face crops and MFCC."""
