/**
 * The plan of a choice, out of a page's plans, which share levels.
 *
 * @param {{shared: object, levels: object[], plans: {sampler: string, steps: object[]}[]}} plans
 */
export function planOf({ shared, levels, plans }, sampler, count) {
  const found = plans.find((plan) => plan.sampler === sampler && plan.steps.length === count);
  const calls = found.steps.flatMap(({ moves }) => moves.flatMap((move) => move.calls));
  const used = new Set([...found.steps.flatMap(({ t, s }) => [t, s]), ...calls.map(({ t }) => t)]);
  return { ...shared, ...found, levels: levels.filter(({ t }) => used.has(t)) };
}

/** The plan with another guidance where it guides; where it does not at all, everywhere. */
export function guided(plan, guidance) {
  const nowhere = plan.levels.every((level) => level.guidance === 1);
  const levels = plan.levels.map((level) => ({ ...level, guidance: nowhere || level.guidance !== 1 ? guidance : 1 }));
  return { ...plan, levels };
}
