/** What a screen reader is told, beside what is seen. */
class Announcer {
  text = $state("");

  say(text: string): void {
    // The same text twice is read once unless it went away in between.
    this.text = "";
    requestAnimationFrame(() => (this.text = text));
  }
}

export const announcer = new Announcer();
