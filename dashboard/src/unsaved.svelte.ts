/** What a sign-out elsewhere would take from the person here. */
class Unsaved {
  /** A new key is shown. */
  isRevealing = $state(false);
  /** A new key is shown that was neither copied nor downloaded. */
  hasKey = $state(false);
  /** The session is over, and this view stays only until that key is stored. */
  isEnding = $state(false);
}

export const unsaved = new Unsaved();
