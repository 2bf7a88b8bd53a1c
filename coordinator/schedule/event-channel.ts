/** A request's events on their way from the step loop to the one consumer that reads them. */

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: Error): void;
}

/**
 * Hand-written rather than an async generator: an event costs its consumer one promise, and its producer none. The
 * producer bounds the buffer by looking at {@link backlog}.
 */
export class EventChannel<T> implements AsyncIterableIterator<T, undefined> {
  private buffered: T[] = [];
  private waiters: Waiter<T>[] = [];
  private ended = false;
  private error: Error | null = null;

  /**
   * @param onTaken the consumer took an event out of the buffer
   * @param onLeft the consumer left before the end
   */
  constructor(
    private readonly onTaken: () => void,
    private readonly onLeft: () => void,
  ) {}

  /** Events that the consumer has not asked for yet. */
  get backlog(): number {
    return this.buffered.length;
  }

  push(event: T): void {
    const waiter = this.waiters.shift();
    if (waiter === undefined) this.buffered.push(event);
    else waiter.resolve({ value: event, done: false });
  }

  /** No more events; what is buffered can still be read. */
  end(): void {
    this.ended = true;
    for (const waiter of this.waiters.splice(0)) waiter.resolve({ value: undefined, done: true });
  }

  /** The consumer gets `error` after what is buffered. */
  fail(error: Error): void {
    this.ended = true;
    const waiter = this.waiters.shift();
    if (waiter === undefined) this.error = error;
    else waiter.reject(error);
    this.end();
  }

  /** Drops what is buffered. */
  discard(): void {
    this.buffered = [];
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const event = this.buffered.shift();
    if (event !== undefined) {
      this.onTaken();
      return Promise.resolve({ value: event, done: false });
    }
    if (this.error !== null) {
      const error = this.error;
      this.error = null;
      return Promise.reject(error);
    }
    if (this.ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.discard();
    this.error = null;
    if (!this.ended) {
      this.end();
      this.onLeft();
    }
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
