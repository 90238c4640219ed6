// Everything is found from where this file is.
export const base = new URL(".", import.meta.url);
