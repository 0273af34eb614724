/** Announcements for screen readers. */
class Announcer {
  text = $state("");

  say(text: string): void {
    // A screen reader reads a repeated text only if it was cleared in between.
    this.text = "";
    requestAnimationFrame(() => (this.text = text));
  }
}

export const announcer = new Announcer();
