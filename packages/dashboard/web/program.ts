const named = document.querySelector<HTMLMetaElement>('meta[name="application-name"]')?.content;

/** The daemon that this page is of, as its `index.html` says. */
export const PROGRAM = named ?? "the daemon";
