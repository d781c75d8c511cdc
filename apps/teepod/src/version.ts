/** Of this program; the dashboard shows it too. */
export const VERSION = "0.1.0";
