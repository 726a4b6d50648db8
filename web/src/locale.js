// A browser under a POSIX locale calls its language "en-US@posix", which Intl refuses; uPlot asks Intl for
// it while it loads. This module comes first, so that the language is one that Intl knows.
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, "language", { value: "en-US", configurable: true });
}
