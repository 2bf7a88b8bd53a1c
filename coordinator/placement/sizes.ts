/** Sizes every executor's KV cache and scratch follow from. */
export interface ServingSizes {
  slots: number;
  contextLength: number;
  maxRows: number;
}
