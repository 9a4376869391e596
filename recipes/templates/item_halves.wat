  ;; The whole square root: low * low <= number < high * high, halved until nothing lies between.
  (func $item (param $number i64) (result i32)
    (local $low i64) (local $high i64) (local $middle i64)
    (local.set $high (i64.const 4294967296))
    (loop $halves
      (local.set $middle (i64.shr_u (i64.add (local.get $low) (local.get $high)) (i64.const 1)))
      (if (i64.le_u (i64.mul (local.get $middle) (local.get $middle)) (local.get $number))
        (then (local.set $low (local.get $middle)))
        (else (local.set $high (local.get $middle))))
      (br_if $halves (i64.gt_u (i64.sub (local.get $high) (local.get $low)) (i64.const 1))))
    (i32.wrap_i64 (local.get $low)))
